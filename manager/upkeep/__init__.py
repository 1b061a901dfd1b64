"""Records that follow from others: old versions go, volumes lose nodes that are gone."""
