"""Networks of agents: torsos, heads, and what puts them together."""
