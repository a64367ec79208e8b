"""Users, roles and join tokens: the replicated table that says who may do what (`AccessTable`).

The table is part of the replicated state, like the sessions. Only entries of kind `access` change it, from apply rules
5 on. It is empty until the first user is made. From then on every request needs a user.
"""
