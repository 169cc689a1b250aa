"""Results that a broker has not acknowledged: kept in order, on disk where it must be."""
