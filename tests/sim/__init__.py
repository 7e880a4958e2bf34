"""The simulator itself: its loop, seams and faults, and small workloads that prove them."""
