"""What `manage.py demo` and `manage.py serve` are made of. An app of your own needs none of it."""
