"""A pushed version on disk: its manifest, its number and labels, the record of its loading."""
