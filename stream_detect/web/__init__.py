"""The one local HTTP application: metrics, health and the feeds of a run."""
