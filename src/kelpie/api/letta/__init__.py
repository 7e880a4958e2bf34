"""The compatible wire: the only rooms that know Letta's names.

`table.route_table` is what the application serves, `house.furnish` makes what its handlers reach. `*_shapes.py` say
what is shown and how, `*_requests.py` what is sent and how it is read, the others hold handlers and their routes.
"""
