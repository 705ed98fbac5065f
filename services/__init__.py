"""The services of fibsem-nuclei, their contracts, their runtime, and the algorithms they share."""
