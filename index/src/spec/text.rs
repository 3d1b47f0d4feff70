//! The canonical text of a spec: written, and read back.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::str::FromStr;

use super::fields::Combine;
use super::{DescriptorSpec, NetworkSpec};
use crate::base::error::{Error, Result};
use crate::base::hash::{Hash, InvalidHash};

/// First line of the text of a network's spec: the version of the encoding.
const NETWORK_HEADER: &str = "ocelli-descriptor-spec 1";
/// First line of the text of a foreign spec, in front of its name.
const FOREIGN_PREFIX: &str = "foreign:";

impl DescriptorSpec {
    /// The canonical text: see the [module docs](crate::spec).
    pub fn canonical(&self) -> String {
        match self {
            Self::Foreign { name, dim } => format!("{FOREIGN_PREFIX}{name}\ndim={dim}\n"),
            Self::Network(network) => network_text(network),
        }
    }

    /// Reads a canonical text.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not exactly what [`Self::canonical`] writes for some spec.
    pub fn parse(text: &str) -> Result<Self> {
        let mut lines = text.lines();
        let header = lines.next().unwrap_or_default();
        let mut fields = Fields::read(lines)?;
        let spec = if let Some(name) = header.strip_prefix(FOREIGN_PREFIX) {
            Self::foreign(name, number("dim", fields.required("dim")?)?)?
        } else if header == NETWORK_HEADER {
            Self::Network(read_network(&mut fields)?)
        } else {
            return Err(bad(format!(
                "expected the first line {NETWORK_HEADER:?} or \"foreign:NAME\", found {header:?}"
            )));
        };
        if let Some(name) = fields.0.keys().next() {
            return Err(bad(format!("unknown field {name:?}")));
        }
        if let Self::Network(network) = &spec {
            network.check().map_err(bad)?;
        }
        // One spec has one text and one hash: another order, or a default written out, would make a
        // second one.
        if spec.canonical() != text {
            return Err(bad("the text is not in canonical form".into()));
        }
        Ok(spec)
    }
}

/// A text of `name=value` lines.
struct Lines(String);

impl Lines {
    fn put(&mut self, name: &str, value: impl Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{name}={value}");
    }

    /// A line unless the value is the default.
    fn put_unless<T: PartialEq + Display>(&mut self, default: &T, name: &str, value: &T) {
        if value != default {
            self.put(name, value);
        }
    }
}

fn network_text(n: &NetworkSpec) -> String {
    let default = NetworkSpec::new(n.weights, n.arch.as_str(), n.last_stage, n.dim);
    let mut out = Lines(format!("{NETWORK_HEADER}\n"));
    out.put("weights", n.weights);
    out.put("arch", &n.arch);
    out.put("last_stage", n.last_stage);
    out.put("dim", n.dim);
    out.put_unless(&default.form, "form", &n.form);
    out.put_unless(&default.input, "input", &n.input);
    out.put_unless(&default.bn_eps, "bn_eps", &n.bn_eps);
    out.put_unless(&default.pooling, "pooling", &n.pooling);
    let sizes: Vec<String> = n.sizes.iter().map(u32::to_string).collect();
    out.put_unless(&String::new(), "sizes", &sizes.join(","));
    out.put_unless(&default.filter, "filter", &n.filter);
    out.put_unless(&default.upscale, "upscale", &n.upscale);
    out.put_unless(&default.exif, "exif", &n.exif);
    out.put_unless(&default.jpeg_scaled, "jpeg_scaled", &n.jpeg_scaled);
    out.put_unless(&default.head, "head", &n.head);
    out.put_unless(&default.image_whitening, "image_whitening", &n.image_whitening);
    out.put_unless(&default.precision, "precision", &n.precision);
    if n.combine != default.combine {
        out.put("combine", n.combine.canonical());
    }
    out.put_unless(&default.crop_first, "crop_first", &n.crop_first);
    if let Some(whitening) = &n.whitening {
        out.put("whitening", whitening);
    }
    out.0
}

/// The fields of a text that were not taken yet.
struct Fields<'t>(BTreeMap<&'t str, &'t str>);

impl<'t> Fields<'t> {
    fn read(lines: impl Iterator<Item = &'t str>) -> Result<Self> {
        let field = |line: &'t str| {
            line.split_once('=').ok_or_else(|| bad(format!("expected name=value, found {line:?}")))
        };
        lines.map(field).collect::<Result<_>>().map(Self)
    }

    /// Takes a field that must be there.
    fn required(&mut self, name: &str) -> Result<&'t str> {
        self.0.remove(name).ok_or_else(|| bad(format!("{name} is missing")))
    }

    /// Takes a field into `value`, which keeps its default where the text has no such field.
    fn take<T>(
        &mut self,
        name: &str,
        value: &mut T,
        parse: impl FnOnce(&'t str) -> Result<T>,
    ) -> Result<()> {
        if let Some(text) = self.0.remove(name) {
            *value = parse(text)?;
        }
        Ok(())
    }
}

fn read_network(fields: &mut Fields<'_>) -> Result<NetworkSpec> {
    let mut n = NetworkSpec::new(
        hash(fields.required("weights")?)?,
        fields.required("arch")?,
        fields.required("last_stage")?.parse().map_err(|e: Error| bad(e.to_string()))?,
        number("dim", fields.required("dim")?)?,
    );
    let sizes = |text: &str| text.split(',').map(|size| number("sizes", size)).collect();
    fields.take("form", &mut n.form, str::parse)?;
    fields.take("input", &mut n.input, str::parse)?;
    fields.take("bn_eps", &mut n.bn_eps, |text| number("bn_eps", text))?;
    fields.take("pooling", &mut n.pooling, str::parse)?;
    fields.take("sizes", &mut n.sizes, sizes)?;
    fields.take("filter", &mut n.filter, str::parse)?;
    fields.take("upscale", &mut n.upscale, |text| number("upscale", text))?;
    fields.take("exif", &mut n.exif, |text| number("exif", text))?;
    fields.take("jpeg_scaled", &mut n.jpeg_scaled, |text| number("jpeg_scaled", text))?;
    fields.take("head", &mut n.head, str::parse)?;
    fields
        .take("image_whitening", &mut n.image_whitening, |text| number("image_whitening", text))?;
    fields.take("precision", &mut n.precision, str::parse)?;
    fields.take("combine", &mut n.combine, Combine::parse_canonical)?;
    fields.take("crop_first", &mut n.crop_first, str::parse)?;
    fields.take("whitening", &mut n.whitening, |text| hash(text).map(Some))?;
    Ok(n)
}

fn bad(what: String) -> Error {
    Error::invalid(format!("descriptor spec: {what}"))
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T> {
    value.parse().map_err(|_| bad(format!("{name}={value} is no number")))
}

fn hash(text: &str) -> Result<Hash> {
    text.parse().map_err(|e: InvalidHash| bad(e.to_string()))
}
