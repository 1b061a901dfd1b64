"""Generated protocol code; never edited by hand."""
