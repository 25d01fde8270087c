"""What tests start and measure with: real servers, and waiting for conditions."""
