"""The clock of a scenario run again, with known or no learning."""
