"""Self-contained HTML pages: one file each, no network, dark mode, phones and keyboards."""
