//! Caffe's layers to torchvision's tensor names.
//!
//! ResNets as released by their authors (`res4b12_branch2a` with `bn4b12_branch2a` and
//! `scale4b12_branch2a`), VGGs (`conv4_3`), SqueezeNet (`fire5/squeeze1x1`); and the layers behind
//! R-MAC in the code published with Gordo et al. 2017: a `Scale` that centres (`…/centered`) and an
//! `InnerProduct` (`…/pca`).

use std::collections::{BTreeMap, BTreeSet};

use super::Converted;
use super::array::Array;
use super::caffe::{Kind, Layer};
use super::error::{ConvertError, Result};

/// Grid and levels of the R-MAC code published with the network.
const PUBLISHED_POOLING: &str = "rmac:2:image-pixels";

/// Names and numbers of what the layers hold.
pub(super) fn convert(layers: Vec<Layer>) -> Result<Converted> {
    let mut out = Converted::new("caffe");
    let mut eps = BTreeSet::new();
    let mut centre = None;
    let mut projection = None;
    let is_resnet = layers.iter().any(|layer| layer.name.contains("_branch"));
    let vgg = vgg_steps(&layers);
    for layer in layers {
        let Layer { name, kind, .. } = &layer;
        match kind {
            Kind::InnerProduct if name.ends_with("pca") => projection = Some(layer),
            Kind::Scale if name.ends_with("centered") => centre = Some(layer),
            Kind::InnerProduct => out.left_out.push(name.clone()),
            _ if name == "conv10" => out.left_out.push(name.clone()),
            _ => {
                let place = if is_resnet {
                    resnet_place(name)
                } else {
                    vgg.get(name).cloned().or_else(|| fire_place(name))
                };
                eps.extend(put(&mut out, layer, place)?.map(f32::to_bits));
            }
        }
    }
    let mut eps = eps.into_iter().map(f32::from_bits);
    match (eps.next(), eps.next()) {
        (Some(a), Some(b)) => {
            return Err(ConvertError::bad(format!(
                "batch normalisation with several epsilons ({a}, {b}), expected one"
            )));
        }
        // As written, so that 1e-5 is 1e-5 and not float32's nearest.
        (Some(eps), None) => out.set("ocelli.bn_eps", eps),
        _ => {}
    }
    out.set("ocelli.input", "caffe-bgr");
    out.set("ocelli.form", if is_resnet { "v1-caffe" } else { "v1.5" });
    if let Some(projection) = projection {
        head(&mut out, &projection, centre.as_ref())?;
        out.set("ocelli.pooling", PUBLISHED_POOLING);
        out.set("ocelli.head", "l2-fc");
    } else if let Some(centre) = centre {
        out.unplaced.extend((0..centre.blobs.len()).map(|i| format!("{}[{i}]", centre.name)));
    }
    Ok(out)
}

/// Puts a layer's numbers in their place, and says the epsilon of a batch normalisation. What has
/// no place is noted.
fn put(out: &mut Converted, layer: Layer, place: Option<String>) -> Result<Option<f32>> {
    let fields: &[&str] = match layer.kind {
        Kind::Convolution | Kind::Scale => &["weight", "bias"],
        Kind::BatchNorm => &["running_mean", "running_var"],
        _ => &[],
    };
    let Some(place) = place.filter(|_| !fields.is_empty()) else {
        out.unplaced.extend((0..layer.blobs.len()).map(|i| format!("{}[{i}]", layer.name)));
        return Ok(None);
    };
    if layer.kind == Kind::BatchNorm {
        for (field, values) in fields.iter().zip(statistics(&layer)?) {
            out.tensors.insert(format!("{place}.{field}"), values);
        }
        return Ok(Some(layer.eps));
    }
    for (i, blob) in layer.blobs.into_iter().enumerate() {
        match fields.get(i) {
            Some(field) => {
                drop(out.tensors.insert(format!("{place}.{field}"), as_bias(blob, field)));
            }
            None => out.unplaced.push(format!("{}[{i}]", layer.name)),
        }
    }
    Ok(None)
}

/// Biases of old files have four axes.
fn as_bias(mut blob: Array, field: &str) -> Array {
    if field == "bias"
        || blob.shape.iter().filter(|&&n| n != 1).count() <= 1 && blob.shape.len() == 1
    {
        blob.shape = vec![blob.shape.iter().product()];
    }
    blob
}

/// Mean and variance. Caffe keeps them times a factor, which is the third blob.
fn statistics(layer: &Layer) -> Result<[Array; 2]> {
    let [mean, variance, factor] = layer.blobs.as_slice() else {
        return Err(ConvertError::bad(format!(
            "layer {}: expected mean, variance and their factor, found {} blobs",
            layer.name,
            layer.blobs.len()
        )));
    };
    let factor = factor.to_f64()?.first().copied().unwrap_or_default();
    let scale = if factor == 0.0 { 0.0 } else { factor.recip() };
    let scaled = |array: &Array| -> Result<Array> {
        let values: Vec<f64> = array.to_f64()?.iter().map(|v| v * scale).collect();
        Ok(Array::from_f64(vec![values.len()], &values))
    };
    Ok([scaled(mean)?, scaled(variance)?])
}

/// W (g x + s) + b with the centring's gain g, 1 as published, and shift s.
fn head(out: &mut Converted, projection: &Layer, centre: Option<&Layer>) -> Result<()> {
    let bad = |what: &str| Err(ConvertError::bad(format!("layer {}: {what}", projection.name)));
    let Some(weight) = projection.blobs.first() else { return bad("no weights") };
    // (D, C), in old files (1, 1, D, C).
    let shape: Vec<usize> = match weight.shape.as_slice() {
        [1, 1, rest @ ..] if rest.len() == 2 => rest.to_vec(),
        other => other.to_vec(),
    };
    let &[rows, columns] = shape.as_slice() else { return bad("expected a matrix of weights") };
    let mut weights = weight.to_f64()?;
    if let Some(centre) = centre {
        let [gain, shift] = centre.blobs.as_slice() else {
            return bad("expected a gain and a shift before it");
        };
        let (gain, shift) = (gain.to_f64()?, shift.to_f64()?);
        if gain.len() != columns || shift.len() != columns || gain.contains(&0.0) {
            return bad("its centring has another length, or a gain of 0");
        }
        for row in weights.chunks_exact_mut(columns.max(1)) {
            row.iter_mut().zip(&gain).for_each(|(w, g)| *w *= g);
        }
        let mean: Vec<f64> = shift.iter().zip(&gain).map(|(s, g)| -s / g).collect();
        out.tensors.insert("head.mean".to_owned(), Array::from_f64(vec![columns], &mean));
    }
    out.tensors.insert("head.weight".to_owned(), Array::from_f64(vec![rows, columns], &weights));
    if let Some(bias) = projection.blobs.get(1) {
        out.tensors.insert("head.bias".to_owned(), as_bias(bias.clone(), "bias"));
    }
    Ok(())
}

/// `res4b12_branch2a` to `layer3.12.conv1`, `bn…` and `scale…` to `layer3.12.bn1`.
fn resnet_place(name: &str) -> Option<String> {
    match name {
        "conv1" => return Some("conv1".to_owned()),
        "bn_conv1" | "scale_conv1" => return Some("bn1".to_owned()),
        _ => {}
    }
    let (is_conv, rest) = ["res", "bn", "scale"]
        .iter()
        .find_map(|prefix| Some((*prefix == "res", name.strip_prefix(prefix)?)))?;
    let (block, branch) = rest.split_once("_branch")?;
    let stage =
        block.get(..1)?.parse::<usize>().ok()?.checked_sub(1).filter(|n| (1..=4).contains(n))?;
    let block = block.get(1..)?;
    let number = match block.as_bytes() {
        // a, b, c, …
        &[letter @ b'a'..=b'z'] => usize::from(letter - b'a'),
        // a, b1, b2, …
        [b'b', ..] => block.get(1..)?.parse().ok()?,
        _ => return None,
    };
    let module = match (branch, is_conv) {
        ("1", true) => "downsample.0".to_owned(),
        ("1", false) => "downsample.1".to_owned(),
        (branch, is_conv) => {
            let letter = branch.strip_prefix('2')?.as_bytes();
            let &[letter @ b'a'..=b'c'] = letter else { return None };
            format!("{}{}", if is_conv { "conv" } else { "bn" }, letter - b'a' + 1)
        }
    };
    Some(format!("layer{stage}.{number}.{module}"))
}

/// `conv3_2` of a VGG to its place among torchvision's steps, each convolution followed by a ReLU
/// and each stage by a pool.
fn vgg_steps(layers: &[Layer]) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for layer in layers {
        let number = |text: &str| text.parse::<usize>().ok();
        let parts = layer.name.strip_prefix("conv").and_then(|rest| rest.split_once('_'));
        if let Some((stage, index)) = parts.and_then(|(s, i)| Some((number(s)?, number(i)?))) {
            names.insert((stage, index), layer.name.clone());
        }
    }
    let mut step = 0;
    let mut last_stage = None;
    let mut places = BTreeMap::new();
    for ((stage, _), name) in names {
        step += usize::from(last_stage.is_some_and(|last| last != stage));
        places.insert(name, format!("features.{step}"));
        step += 2;
        last_stage = Some(stage);
    }
    places
}

/// SqueezeNet 1.1: `fire5/squeeze1x1` to `features.7.squeeze`.
fn fire_place(name: &str) -> Option<String> {
    if name == "conv1" {
        return Some("features.0".to_owned());
    }
    let (number, part) = name.strip_prefix("fire")?.split_once('/')?;
    let place = match number.parse::<usize>().ok()? {
        n @ (2 | 3) => n + 1,
        n @ (4 | 5) => n + 2,
        n @ 6..=9 => n + 3,
        _ => return None,
    };
    let part = match part {
        "squeeze1x1" => "squeeze",
        "expand1x1" | "expand3x3" => part,
        _ => return None,
    };
    Some(format!("features.{place}.{part}"))
}
