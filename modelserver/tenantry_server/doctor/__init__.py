"""Behind `tenantry doctor`: whether these libraries load every model, and models written again by them."""
