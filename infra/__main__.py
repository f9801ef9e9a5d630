"""What `pulumi up` runs. (`python -m infra.one_node` is a package of its own, and imports nothing of this.)"""

from program.stack import deploy

deploy()
