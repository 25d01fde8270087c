"""How a request goes to a peer: kept-alive connections, and what is written on them."""
