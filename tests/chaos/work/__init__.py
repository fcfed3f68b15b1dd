"""The operations of the chaos suite."""
