"""What the device shares with every other side: Python 3.6, standard library and numpy at most.

Each file is copied into the edge bundle, where it lies flat: none imports another of ours.
"""
