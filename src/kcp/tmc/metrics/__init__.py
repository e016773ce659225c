"""TMC's metrics: `families` names them all, once; the other modules measure."""
