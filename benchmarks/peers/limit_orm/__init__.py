"""What Django's ORM allows: claim and end, and nothing else, in batches on one table."""
