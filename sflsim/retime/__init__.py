"""A scenario's clock run again, with given answers for the learning."""
