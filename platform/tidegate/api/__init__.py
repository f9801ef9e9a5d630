"""The public face of Tidegate: what definitions, documentation and code of users import, and nothing else.

    tidegate.api.data        a data set's definition: columns, rules, what a row is
    tidegate.api.serving     a model's typed endpoint: Endpoint, Call, Message
    tidegate.api.pipelines   a training pipeline of five steps
    tidegate.api.training    what the steps of a training are made with
    tidegate.api.project     a project from Python: open it, bring a model of your own, roll it out

Modules here re-export and hold no logic, but for the components of `pipelines`, whose text is run as a user's would be. What
they name stays: it is removed or changed in meaning only with a major version. Every other module of the package may move or
change with any version. Each module imports what its own readers need, so that a serving process stays light.
"""
