"""How the tables of a store came to be, step by step (Alembic); `stream_detect.store.database` runs them."""
