"""What calls cost, learned from calls that were allowed to end and from those that were not."""
