//! PyTorch checkpoints to tensors: which program wrote them, and what they hold besides the
//! backbone.

use ocelli_index::foreign::pickle::Id;

use super::array::Array;
use super::error::{ConvertError, Result};
use super::torch::Checkpoint;
use super::{ConvertOptions, Converted};
use crate::backbone::EFFICIENTNET_BN_EPS;
use crate::backbone::efficientnet::STEM;

/// Mean and deviation that all of these networks were trained with.
const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const STD: [f64; 3] = [0.229, 0.224, 0.225];

/// The whitening that dirtorch applies unless told otherwise.
const DIRTORCH_WHITENING: &str = "Landmarks_clean";

/// Tells the kinds apart by their keys.
pub(super) fn convert(checkpoint: &Checkpoint, options: &ConvertOptions) -> Result<Converted> {
    let pickle = &checkpoint.pickle;
    let root = pickle.root();
    if pickle.entries(root).is_none() {
        return Err(ConvertError::bad(
            "expected a state_dict or a checkpoint, found another object",
        ));
    }
    let mut out = match pickle.get(root, "state_dict") {
        None => {
            let mut out = Converted::new("torchvision");
            state_dict(checkpoint, root, &mut out)?;
            out
        }
        Some(state) => match (pickle.get(root, "meta"), pickle.get(root, "model_options")) {
            (Some(meta), _) => cirtorch(checkpoint, state, meta, options)?,
            (None, Some(model)) => dirtorch(checkpoint, state, model, options)?,
            (None, None) => {
                let mut out = Converted::new("torchvision");
                state_dict(checkpoint, state, &mut out)?;
                out
            }
        },
    };
    if out.format == "torchvision" && out.tensors.contains_key(&format!("{}.weight", STEM[0])) {
        out.format = "efficientnet-pytorch";
        out.set("ocelli.input", "centred-rgb");
        out.set("ocelli.bn_eps", EFFICIENTNET_BN_EPS);
    } else {
        out.set("ocelli.form", "v1.5");
        out.set("ocelli.input", "torchvision-rgb");
    }
    Ok(out)
}

/// All tensors of a state_dict by name, without the prefix that `DataParallel` adds.
fn state_dict(checkpoint: &Checkpoint, id: Id, out: &mut Converted) -> Result<()> {
    let entries = checkpoint.pickle.entries(id);
    let entries =
        entries.ok_or_else(|| ConvertError::bad("expected a state_dict, found no dictionary"))?;
    for (name, id) in entries {
        let name = name.strip_prefix("module.").unwrap_or(name);
        let array =
            checkpoint.array(id).map_err(|e| ConvertError::bad(format!("tensor {name}: {e}")))?;
        match array {
            Some(array) if array.is_float() => drop(out.tensors.insert(name.to_owned(), array)),
            Some(_) if name.ends_with(".num_batches_tracked") => out.left_out.push(name.to_owned()),
            _ => out.unplaced.push(name.to_owned()),
        }
    }
    let is_classifier =
        |name: &str| ["fc.", "_fc.", "classifier."].iter().any(|prefix| name.starts_with(prefix));
    if out.format == "torchvision" {
        let names: Vec<String> =
            out.tensors.keys().filter(|name| is_classifier(name)).cloned().collect();
        for name in names {
            out.tensors.remove(&name);
            out.left_out.push(name);
        }
    }
    if out.tensors.is_empty() {
        return Err(ConvertError::bad(
            "expected a state_dict, found no tensor of floating-point numbers",
        ));
    }
    Ok(())
}

/// naver/deep-image-retrieval: torchvision's names, `adpool.p`, `fc`, and whitenings by
/// scikit-learn.
fn dirtorch(
    checkpoint: &Checkpoint,
    state: Id,
    model: Id,
    options: &ConvertOptions,
) -> Result<Converted> {
    let pickle = &checkpoint.pickle;
    let mut out = Converted::new("dirtorch");
    state_dict(checkpoint, state, &mut out)?;
    let option = |key: &str| pickle.get(model, key);
    let flag = |key: &str| option(key).and_then(|id| pickle.flag(id)).unwrap_or(false);
    if let Some(arch) = option("arch").and_then(|id| pickle.text(id)).filter(|a| a.contains("fpn"))
    {
        return Err(ConvertError::bad(format!(
            "dirtorch's {arch} has a feature pyramid, which Ocelli has not"
        )));
    }
    if option("center_bias").and_then(|id| pickle.number(id)).is_some_and(|b| b != 0.0) {
        return Err(ConvertError::bad("dirtorch's center_bias is not read"));
    }
    let p = out.tensors.remove("adpool.p");
    match option("pooling").and_then(|id| pickle.text(id)).unwrap_or("gem") {
        "max" => out.set("ocelli.pooling", "mac"),
        "avg" => out.set("ocelli.pooling", "spoc"),
        gem if gem.starts_with("gem") => {
            let given = option("gemp").and_then(|id| pickle.number(id));
            let p = exponent(p.as_ref())?.or(given).unwrap_or(3.0);
            out.set("ocelli.pooling", format!("gem:{}", p as f32));
        }
        other => {
            return Err(ConvertError::bad(format!("dirtorch's pooling {other:?} is not read")));
        }
    }
    for field in ["weight", "bias"] {
        if let Some(array) = out.tensors.remove(&format!("fc.{field}")) {
            if flag("without_fc") {
                out.left_out.push(format!("fc.{field}"));
            } else {
                out.tensors.insert(format!("head.{field}"), array);
            }
        }
    }
    out.set("ocelli.head", if flag("norm_features") { "l2-fc" } else { "fc" });
    if let Some(preprocess) = pickle.get(pickle.root(), "preprocess") {
        check_input(checkpoint, preprocess)?;
    }
    let whitenings = pickle.get(pickle.root(), "pca").filter(|&id| !pickle.is_none(id));
    if let Some(whitenings) = whitenings {
        let named: Vec<(String, Id)> = match pickle.entries(whitenings) {
            Some(entries) => entries.into_iter().map(|(name, id)| (name.to_owned(), id)).collect(),
            None => vec![("pca".to_owned(), whitenings)],
        };
        if let Some(id) = choose(&named, DIRTORCH_WHITENING, options, &mut out)? {
            pca(checkpoint, id, options, &mut out)?;
        }
    }
    Ok(out)
}

/// y = C (x − mean) / variance^power, of scikit-learn's PCA.
fn pca(
    checkpoint: &Checkpoint,
    id: Id,
    options: &ConvertOptions,
    out: &mut Converted,
) -> Result<()> {
    let pickle = &checkpoint.pickle;
    if !pickle.is_pca(id) {
        return Err(ConvertError::bad("the checkpoint's whitening is no scikit-learn PCA"));
    }
    let array = |name: &str| {
        let array = pickle.pca(id, name).map(|id| checkpoint.array(id)).transpose()?.flatten();
        array.ok_or_else(|| ConvertError::bad(format!("the PCA has no {name}")))
    };
    let components = array("components_")?;
    let &[rows, columns] = components.shape.as_slice() else {
        return Err(ConvertError::bad("the PCA's components are no matrix"));
    };
    let mut weight = components.to_f64()?;
    if pickle.pca(id, "whiten").and_then(|id| pickle.flag(id)).unwrap_or(false) {
        let variance = array("explained_variance_")?.to_f64()?;
        if variance.len() != rows {
            return Err(ConvertError::bad(
                "the PCA has another number of variances than of components",
            ));
        }
        for (row, variance) in weight.chunks_exact_mut(columns.max(1)).zip(&variance) {
            let scale = variance.powf(options.whitening_power);
            row.iter_mut().for_each(|v| *v /= scale);
        }
        out.set("ocelli.whitening_power", options.whitening_power);
    }
    out.tensors
        .insert("whitening.weight".to_owned(), Array::from_f64(vec![rows, columns], &weight));
    if pickle.pca(id, "mean_").is_some_and(|id| !pickle.is_none(id)) {
        let mean = array("mean_")?.to_f64()?;
        out.tensors.insert("whitening.mean".to_owned(), Array::from_f64(vec![mean.len()], &mean));
    }
    Ok(())
}

/// filipradenovic/cnnimageretrieval-pytorch: `features.N`, `pool.p`, `whiten`, and `Lw` among the
/// meta data.
fn cirtorch(
    checkpoint: &Checkpoint,
    state: Id,
    meta: Id,
    options: &ConvertOptions,
) -> Result<Converted> {
    let pickle = &checkpoint.pickle;
    let mut out = Converted::new("cnnimageretrieval");
    state_dict(checkpoint, state, &mut out)?;
    let text = |key: &str| pickle.get(meta, key).and_then(|id| pickle.text(id));
    let flag = |key: &str| pickle.get(meta, key).and_then(|id| pickle.flag(id)).unwrap_or(false);
    check_input(checkpoint, meta)?;
    if text("architecture").unwrap_or_default().starts_with("resnet") {
        out.tensors = std::mem::take(&mut out.tensors)
            .into_iter()
            .map(|(name, array)| (resnet_name(&name).unwrap_or(name), array))
            .collect();
    }
    for what in ["regional", "local_whitening"] {
        if flag(what) {
            out.notes.push(format!(
                "the checkpoint has {what}, which Ocelli has not: its backbone is converted, its \
                 descriptors differ"
            ));
        }
    }
    let p = out.tensors.remove("pool.p");
    if !flag("regional") {
        cirtorch_pooling(text("pooling").unwrap_or_default(), p.as_ref(), &mut out)?;
    }
    for field in ["weight", "bias"] {
        if let Some(array) = out.tensors.remove(&format!("whiten.{field}")) {
            out.tensors.insert(format!("head.{field}"), array);
        }
    }
    out.set("ocelli.head", "l2-fc");
    let mut named = Vec::new();
    for (set, id) in pickle.get(meta, "Lw").and_then(|lw| pickle.entries(lw)).unwrap_or_default() {
        for (scales, id) in pickle.entries(id).unwrap_or_default() {
            named.push((format!("{set}/{scales}"), id));
        }
    }
    let single = named.iter().find(|(name, _)| name.ends_with("/ss")).map(|(name, _)| name.clone());
    let sets = named.iter().filter(|(name, _)| name.ends_with("/ss")).count();
    let usual = single.filter(|_| sets == 1).unwrap_or_default();
    if let Some(id) = choose(&named, &usual, options, &mut out)? {
        let array = |key: &str| {
            let array = pickle.get(id, key).map(|id| checkpoint.array(id)).transpose()?.flatten();
            array.ok_or_else(|| ConvertError::bad(format!("the checkpoint's Lw has no {key}")))
        };
        let (mean, weight) = (array("m")?.to_f64()?, array("P")?);
        let values = weight.to_f64()?;
        out.tensors.insert("whitening.weight".to_owned(), Array::from_f64(weight.shape, &values));
        out.tensors.insert("whitening.mean".to_owned(), Array::from_f64(vec![mean.len()], &mean));
    }
    Ok(out)
}

/// The pooling by its name there, with GeM's exponent `p`.
fn cirtorch_pooling(name: &str, p: Option<&Array>, out: &mut Converted) -> Result<()> {
    match name {
        "mac" => out.set("ocelli.pooling", "mac"),
        "spoc" => out.set("ocelli.pooling", "spoc"),
        "gem" => out.set("ocelli.pooling", format!("gem:{}", exponent(p)?.unwrap_or(3.0) as f32)),
        "rmac" => out.notes.push(
            "the checkpoint's R-MAC adds the whole map to the regions, which Ocelli's does not: \
             give --pooling rmac, and expect descriptors that differ"
                .to_owned(),
        ),
        other => {
            if p.is_some() {
                out.unplaced.push("pool.p".to_owned());
            }
            out.notes.push(format!(
                "the checkpoint's pooling {other:?} is not one of Ocelli's: give --pooling"
            ));
        }
    }
    Ok(())
}

/// A ResNet's children by their number: `features.0` is `conv1`, `features.4.2` is `layer1.2`.
fn resnet_name(name: &str) -> Option<String> {
    let (child, rest) = name.strip_prefix("features.")?.split_once('.')?;
    Some(match child.parse::<usize>().ok()? {
        0 => format!("conv1.{rest}"),
        1 => format!("bn1.{rest}"),
        n @ 4..=7 => format!("layer{}.{rest}", n - 3),
        _ => return None,
    })
}

/// The whitening asked for, or the usual one, or the only one; what else there is becomes a note.
fn choose(
    named: &[(String, Id)],
    usual: &str,
    options: &ConvertOptions,
    out: &mut Converted,
) -> Result<Option<Id>> {
    let names = || named.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    if !options.with_whitening || named.is_empty() {
        return match &options.whitening {
            Some(asked) if named.is_empty() => {
                Err(ConvertError::bad(format!("--whitening {asked}: the checkpoint has none")))
            }
            _ => Ok(None),
        };
    }
    let found = |wanted: &str| named.iter().find(|(name, _)| name == wanted);
    let (name, id) = match (&options.whitening, named) {
        (Some(asked), _) => found(asked).ok_or_else(|| {
            ConvertError::bad(format!("--whitening: expected one of {}, found {asked:?}", names()))
        })?,
        (None, [only]) => only,
        (None, _) => found(usual).ok_or_else(|| {
            ConvertError::bad(format!(
                "the checkpoint has several whitenings: choose one with --whitening NAME, of {}; \
                 or give --no-whitening",
                names()
            ))
        })?,
    };
    out.set("ocelli.whitening", name);
    if named.len() > 1 {
        out.notes.push(format!("whitening {name} of {}", names()));
    }
    Ok(Some(*id))
}

/// GeM's learned exponent, which is a tensor of one number.
fn exponent(p: Option<&Array>) -> Result<Option<f64>> {
    let Some(p) = p else { return Ok(None) };
    match p.to_f64()?.as_slice() {
        &[p] if p.is_finite() && p > 0.0 => Ok(Some(p)),
        other => Err(ConvertError::bad(format!(
            "GeM's exponent: expected one number above 0, found {}",
            other.len()
        ))),
    }
}

/// Refuses networks trained on pixels that are normalised in another way.
fn check_input(checkpoint: &Checkpoint, id: Id) -> Result<()> {
    let pickle = &checkpoint.pickle;
    for (key, expected) in [("mean", MEAN), ("std", STD)] {
        let Some(items) = pickle.get(id, key).and_then(|id| pickle.items(id)) else { continue };
        let found: Vec<f64> = items.iter().filter_map(|&id| pickle.number(id)).collect();
        let same =
            found.len() == 3 && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
        if !same {
            return Err(ConvertError::bad(format!(
                "the network's {key} of pixels: expected ImageNet's {expected:?}, found {found:?}"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flag that chooses is in the message.
    #[test]
    fn several_whitenings_name_the_flag() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/layouts/tv_resnet.pth");
        let checkpoint = Checkpoint::from_zip(&std::fs::read(path).unwrap()).unwrap();
        let id = checkpoint.pickle.root();
        let named = ["a/ss", "b/ss"].map(|name| (name.to_owned(), id));
        let message = |asked: Option<&str>, named: &[(String, Id)]| {
            let whitening = asked.map(str::to_owned);
            let options = ConvertOptions { whitening, ..ConvertOptions::default() };
            choose(named, "", &options, &mut Converted::new("x")).unwrap_err().to_string()
        };
        let several = message(None, &named);
        assert!(several.contains("--whitening NAME, of a/ss, b/ss"), "{several}");
        assert!(message(Some("c"), &named).starts_with("--whitening: expected one of a/ss, b/ss"));
        assert!(message(Some("c"), &[]).starts_with("--whitening c: the checkpoint has none"));
    }
}
