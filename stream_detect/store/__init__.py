"""Alerts, scores of every second and states of feeds in a database, with what people said of the alerts."""
