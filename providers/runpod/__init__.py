"""RunPod: containers ("pods") on GPU hosts, in vetted data centres (SECURE) and on peers' hosts (COMMUNITY).

`client` is the wire of REST v2, `errors` its refusals, `offers` and `pods` read its answers, `request` writes
the create body, and `adapter` is the contract.
"""
