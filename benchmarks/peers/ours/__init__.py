"""operator_app as it is in this tree."""
