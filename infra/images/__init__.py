"""Container images of the platform and of releases, built by buildah without a daemon and without a registry.

    base         Debian's Python 3.11, by debootstrap; or an image that you name
    serving      base, and the packages that a release's process needs
    release      serving, tidegate and one release: what pods of a model run
    platform     base, all packages of the lock, tidegate and the project's definitions: gate service, MLflow server

Python's packages are those of the environment that requirements.lock made, so the lock decides what is in an image. Files have
no time stamps and byte code is compiled beforehand, valid whatever the time, so that equal content has an equal digest.

`kept` is the cache: what was made once, by the content that it was made of. Tests keep their cluster's programs in it, too.
"""
