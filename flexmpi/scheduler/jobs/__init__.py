"""The elastic jobs as they tell of themselves, and the orders they have. Pure."""
