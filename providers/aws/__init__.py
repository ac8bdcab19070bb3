"""AWS EC2: GPU virtual machines of a hyperscaler, on demand and spot, found and rented zone by zone."""
