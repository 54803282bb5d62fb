"""A first look at every frame, for passes that must know the whole shot: frames → signals. Pure."""
