"""The pages' templates: Jinja2 over the folder `templates`."""

import jinja2


def environment() -> jinja2.Environment:
    """An environment in which every text is escaped and a name that is not there is an error."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("zfnet_jax.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
