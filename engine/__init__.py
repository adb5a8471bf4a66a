"""The model process. Front ends import only its doors: protocol, wire and verdict."""
