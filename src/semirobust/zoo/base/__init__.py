"""What sources of networks share: what they are asked, what they say, and how they fail."""
