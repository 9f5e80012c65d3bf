"""Alerts, scores of every second and states of feeds in a database, with what people said of the alerts."""

from stream_detect.store.ledger import StoreLedger
from stream_detect.store.records import FeedState, Mark, SecondScores, StoredAlert, StoredEvent
from stream_detect.store.store import Store, open_store

__all__ = ["FeedState", "Mark", "SecondScores", "Store", "StoreLedger", "StoredAlert", "StoredEvent", "open_store"]
