"""What must hold, checked from outside of the house: from the store's history, the rows, and what clients heard."""
