"""What `pulumi up` runs."""

from program.stack import deploy

deploy()
