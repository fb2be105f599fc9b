"""Where frames come from. Every source fills the same inbox and harms no other when it fails."""
