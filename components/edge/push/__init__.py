"""The node that pushes edge bundles."""
