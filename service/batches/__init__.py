"""Many URLs of an advertiser."""
