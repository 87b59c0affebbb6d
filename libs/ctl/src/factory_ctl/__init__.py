"""`factoryctl`: the factory on one machine, its demo, and the commands to look into it."""
