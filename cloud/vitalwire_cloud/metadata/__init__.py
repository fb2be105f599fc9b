"""What the service knows beside samples: who wears what, and how its SQL databases grow from version to version."""
