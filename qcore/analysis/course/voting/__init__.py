"""How elections went: rounds of requests for votes, the answers and their reasons, and the causes of elections."""
