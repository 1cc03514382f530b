"""What an advertiser gets for an image."""
