"""The edge bundle's host side: export/ makes it, parity/ judges it, push/ puts it up."""
