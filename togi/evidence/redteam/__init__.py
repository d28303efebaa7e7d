"""A red team for every reward: what it pays besides right answers. It trains nothing and samples nothing."""
