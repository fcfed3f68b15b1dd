"""The shop: its books, its customers, and its operations."""
