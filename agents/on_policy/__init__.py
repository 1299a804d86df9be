"""What on-policy agents share."""
