"""The Pulumi program: the same for dev, staging and production, which differ in settings only.

Invariants: every namespace's name starts with its stack's name; nothing lies outside the regions that the stack allows;
secrets are Pulumi secrets from their setting to their Secret; no address of a registry or chart repository has a default.

Modules: `settings` reads them, `residency` judges regions, `node_pools` says where pods run, `namespaces` fences them in,
`stores` describes MLflow, `stack` installs operators and the platform's chart, and puts all together.
"""
