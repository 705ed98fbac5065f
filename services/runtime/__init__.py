"""The only code that touches the bus, the store, the model server, metrics, clocks and signals: one port each."""
