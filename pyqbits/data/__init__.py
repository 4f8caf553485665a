"""Files the package brings along; README.md says where they come from."""
